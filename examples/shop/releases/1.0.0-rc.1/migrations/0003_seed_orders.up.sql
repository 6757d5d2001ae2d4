-- A few rows, so that a rollback has something to lose.
INSERT INTO customers (id, email, name, created_at) VALUES
    ('c-1001', 'ada@example.com', 'Ada', '2026-01-05 09:00:00'),
    ('c-1002', 'grace@example.com', 'Grace', '2026-01-06 10:30:00'),
    ('c-1003', 'edsger@example.com', 'Edsger', '2026-01-07 08:15:00');

INSERT INTO orders (id, customer_id, status, note, total_cents, placed_at) VALUES
    ('o-5001', 'c-1001', 'paid', 'leave at the door', 4990, '2026-02-01 12:00:00'),
    ('o-5002', 'c-1002', 'placed', 'gift wrap; no invoice', 12500, '2026-02-02 13:45:00'),
    ('o-5003', 'c-1002', 'shipped', NULL, 799, '2026-02-03 07:20:00'),
    ('o-5004', 'c-1003', 'cancelled', 'ordered twice', 2599, '2026-02-03 18:05:00');

INSERT INTO order_lines (order_id, line_number, product, quantity, price_cents) VALUES
    ('o-5001', 1, 'keyboard', 1, 4990),
    ('o-5002', 1, 'monitor', 1, 11500),
    ('o-5002', 2, 'cable', 2, 500),
    ('o-5003', 1, 'sticker', 1, 799),
    ('o-5004', 1, 'mouse', 1, 2599);
