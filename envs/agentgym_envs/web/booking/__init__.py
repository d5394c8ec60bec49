"""The booking desk: rooms of guest houses, the pages on which they are booked, and goals as the shop has them."""
