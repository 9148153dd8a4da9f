DROP TABLE IF EXISTS order_items;
DROP TABLE IF EXISTS products;

CREATE TABLE products (
  id int PRIMARY KEY,
  name varchar(100) NOT NULL,
  category varchar(20) NOT NULL,
  price decimal(10, 2) NOT NULL
);

CREATE TABLE order_items (
  order_id int NOT NULL,
  product_id int NOT NULL,
  quantity int NOT NULL,
  PRIMARY KEY (order_id, product_id)
);
