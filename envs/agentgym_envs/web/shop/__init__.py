"""The shop: an endless catalogue, the pages of a shop, and goals in WebShop's sense."""
