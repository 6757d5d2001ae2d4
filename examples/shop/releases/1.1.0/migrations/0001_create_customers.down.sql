DROP INDEX customers_email;
DROP TABLE customers;
