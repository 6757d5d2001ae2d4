DROP VIEW open_orders;
DROP TABLE order_lines;
DROP INDEX orders_customer;
DROP TABLE orders;
