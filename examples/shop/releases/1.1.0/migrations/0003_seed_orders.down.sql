DELETE FROM order_lines WHERE order_id IN ('o-5001', 'o-5002', 'o-5003', 'o-5004');
DELETE FROM orders WHERE id IN ('o-5001', 'o-5002', 'o-5003', 'o-5004');
DELETE FROM customers WHERE id IN ('c-1001', 'c-1002', 'c-1003');
