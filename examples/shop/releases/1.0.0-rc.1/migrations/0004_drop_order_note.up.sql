-- Nobody reads the notes any more.
ALTER TABLE orders DROP COLUMN note;
