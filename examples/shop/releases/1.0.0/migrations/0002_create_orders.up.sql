-- Orders and their lines; amounts are whole cents.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    status TEXT NOT NULL DEFAULT 'placed',
    note TEXT,
    total_cents BIGINT NOT NULL CHECK (total_cents >= 0),
    placed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CHECK (status IN ('placed', 'paid', 'shipped', 'cancelled'))
);

CREATE INDEX orders_customer ON orders (customer_id, placed_at);

CREATE TABLE order_lines (
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    line_number INTEGER NOT NULL,
    product TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_cents BIGINT NOT NULL CHECK (price_cents >= 0),
    PRIMARY KEY (order_id, line_number)
);

CREATE VIEW open_orders AS
    SELECT o.id, o.status, o.total_cents, c.email
    FROM orders o JOIN customers c ON c.id = o.customer_id
    WHERE o.status IN ('placed', 'paid');
