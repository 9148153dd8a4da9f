DROP TABLE IF EXISTS orders, customers;

CREATE TABLE customers (
  id integer PRIMARY KEY,
  name text NOT NULL,
  email text,
  country char(2) NOT NULL,
  created_at timestamptz NOT NULL,
  active boolean NOT NULL,
  balance numeric(12, 2)
);

CREATE TABLE orders (
  id integer PRIMARY KEY,
  customer_id integer NOT NULL,
  amount numeric(12, 2) NOT NULL,
  status text NOT NULL,
  ordered_at timestamptz NOT NULL
);
