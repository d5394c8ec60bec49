"""A customer-service desk over a relational store."""
