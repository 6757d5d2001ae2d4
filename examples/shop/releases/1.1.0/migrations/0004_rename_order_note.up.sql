-- The note is the customer's; the release before this one still reads `note`, so it cannot run on this schema.
ALTER TABLE orders RENAME COLUMN note TO customer_note;
