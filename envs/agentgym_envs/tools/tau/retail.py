"""The tools of tau2-bench's retail domain: orders of a shop, changed and sent back.

Written anew after the published behaviour (Barres et al. 2025, arXiv:2506.07982), one peculiarity of which is kept, because the
published final states have it: `modify_pending_order_items` gives all items that it replaces the price and the options of the
last one.
"""

from collections import Counter
from typing import Any

from agentgym import ToolError, tool
from agentgym.tools import to_json

from .tables import Row
from .toolkit import Calculator

_REASONS = ("no longer needed", "ordered by mistake")


class Retail(Calculator):
    """Tools of the agents of a shop."""

    tables_of = frozenset({"products", "users", "orders"})

    # ---- reading -------------------------------------------------------------------------------------------------------

    @tool
    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:
        """Find a user id by first name, last name, and zip code; use it only when the user cannot be found by email.

        Args:
            first_name: The first name of the customer, such as 'John'.
            last_name: The last name of the customer, such as 'Doe'.
            zip: The zip code of the customer, such as '12345'.
        """
        wanted = (first_name.lower(), last_name.lower(), zip)
        for key, u in self.db.rows("users"):
            if (u["name"]["first_name"].lower(), u["name"]["last_name"].lower(), u["address"]["zip"]) == wanted:
                return key
        raise ToolError("User not found")

    @tool
    def find_user_id_by_email(self, email: str) -> str:
        """Find a user id by email.

        Args:
            email: The email of the user, such as 'something@example.com'.
        """
        for key, u in self.db.rows("users"):
            if u["email"].lower() == email.lower():
                return key
        raise ToolError("User not found")

    @tool
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Get the details of a user, including their orders.

        Args:
            user_id: The user id, such as 'sara_doe_496'.
        """
        return self.find("users", user_id, "User")

    @tool
    def get_order_details(self, order_id: str) -> dict[str, Any]:
        """Get the status and details of an order.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
        """
        return self.find("orders", order_id, "Order")

    @tool
    def get_product_details(self, product_id: str) -> dict[str, Any]:
        """Get the inventory details of a product.

        Args:
            product_id: The product id, such as '6086499569'; it is not an item id.
        """
        return self.find("products", product_id, "Product")

    @tool
    def get_item_details(self, item_id: str) -> dict[str, Any]:
        """Get the inventory details of an item.

        Args:
            item_id: The item id, such as '6086499569'; it is not a product id.
        """
        for _, product in self.db.rows("products"):
            if item_id in product["variants"]:
                found: dict[str, Any] = product["variants"][item_id]
                return found
        raise ToolError("Item not found")

    @tool
    def list_all_product_types(self) -> str:
        """List the name and product id of all product types, each of which has many items with ids and options of their own."""
        return to_json(dict(sorted((p["name"], p["product_id"]) for _, p in self.db.rows("products"))))

    # ---- changing ------------------------------------------------------------------------------------------------------

    @tool
    def cancel_pending_order(self, order_id: str, reason: str) -> dict[str, Any]:
        """Cancel a pending order and refund it; ask the user for explicit confirmation (yes/no) first.

        What was paid by gift card is refunded at once, all else within 5 to 7 business days.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            reason: Either 'no longer needed' or 'ordered by mistake'.
        """
        if self.get_order_details(order_id)["status"] != "pending":
            raise ToolError("Non-pending order cannot be cancelled")
        if reason not in _REASONS:
            raise ToolError("Invalid reason")
        order = self.db.edit("orders", order_id)
        paid = [(p["amount"], p["payment_method_id"]) for p in order["payment_history"]]
        for _, method in paid:
            self._payment_method(order, method)
        for amount, method in paid:
            self._charge(order, method, -amount)
            order["payment_history"].append(_payment("refund", amount, method))
        order["status"], order["cancel_reason"] = "cancelled", reason
        return order

    @tool
    def exchange_delivered_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Exchange items of a delivered order for others of the same product; ask for explicit confirmation (yes/no) first.

        An order can be returned or exchanged only once.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            item_ids: The items to be exchanged, each such as '1008292230'; an id may occur more than once.
            new_item_ids: What they are exchanged for: the item in the same position, of the same product.
            payment_method_id: Who pays or gets the difference, such as 'gift_card_0000000' or 'credit_card_0000000'.
        """
        order = self.get_order_details(order_id)
        if order["status"] != "delivered":
            raise ToolError("Non-delivered order cannot be exchanged")
        _check_held(order, item_ids, "Number of {} not found.")
        if len(item_ids) != len(new_item_ids):
            raise ToolError("The number of items to be exchanged should match.")
        difference = round(_total([self._swap(order, *ids)[1] for ids in zip(item_ids, new_item_ids, strict=True)]), 2)
        self._check_balance(order, payment_method_id, difference, "to pay for the price difference")
        order = self.db.edit("orders", order_id)
        order |= {
            "status": "exchange requested",
            "exchange_items": sorted(item_ids),
            "exchange_new_items": sorted(new_item_ids),
            "exchange_payment_method_id": payment_method_id,
            "exchange_price_difference": difference,
        }
        return order

    @tool
    def return_delivered_order_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> dict[str, Any]:
        """Return items of a delivered order; ask for explicit confirmation (yes/no) first. The user will get an email.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            item_ids: The items to be returned, each such as '1008292230'; an id may occur more than once.
            payment_method_id: Who gets the refund: the original payment method or a gift card.
        """
        order = self.get_order_details(order_id)
        if order["status"] != "delivered":
            raise ToolError("Non-delivered order cannot be returned")
        method = self._payment_method(order, payment_method_id)
        if method["source"] != "gift_card" and payment_method_id != order["payment_history"][0]["payment_method_id"]:
            raise ToolError("Payment method should be the original payment method")
        _check_held(order, item_ids, "Some item not found")
        order = self.db.edit("orders", order_id)
        order |= {
            "status": "return requested",
            "return_items": sorted(item_ids),
            "return_payment_method_id": payment_method_id,
        }
        return order

    @tool
    def modify_pending_order_address(
        self, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> dict[str, Any]:
        """Modify the shipping address of a pending order; ask for explicit confirmation (yes/no) first.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            address1: The first line of the address, such as '123 Main St'.
            address2: The second line of the address, such as 'Apt 1' or ''.
            city: The city, such as 'San Francisco'.
            state: The state, such as 'CA'.
            country: The country, such as 'USA'.
            zip: The zip code, such as '12345'.
        """
        self._pending(order_id)
        order = self.db.edit("orders", order_id)
        order["address"] = _address(address1, address2, city, state, country, zip)
        return order

    @tool
    def modify_pending_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Replace items of a pending order by others of the same product; ask for explicit confirmation (yes/no) first.

        This can be done only once for an order.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            item_ids: The items to be modified, each such as '1008292230'; an id may occur more than once.
            new_item_ids: What they are replaced by: the item in the same position, of the same product.
            payment_method_id: Who pays or gets the difference, such as 'gift_card_0000000' or 'credit_card_0000000'.
        """
        order = self.get_order_details(order_id)
        if order["status"] != "pending":
            raise ToolError("Non-pending order cannot be modified")
        _check_held(order, item_ids, "{} not found")
        if len(item_ids) != len(new_item_ids):
            raise ToolError("The number of items to be exchanged should match")
        pairs = list(zip(item_ids, new_item_ids, strict=True))
        if any(old == new for old, new in pairs):
            raise ToolError("The new item id should be different from the old item id")
        swaps = [self._swap(order, *ids) for ids in pairs]
        difference = _total([more for _, more in swaps])
        method = self._check_balance(order, payment_method_id, difference, "to pay for the new item")
        order = self.db.edit("orders", order_id)
        kind = "payment" if difference > 0 else "refund"
        order["payment_history"].append(_payment(kind, abs(difference), payment_method_id))
        self._charge(order, method["id"], difference)
        for old, new in pairs:
            item = next((i for i in order["items"] if i["item_id"] == old), None)
            if item is None:
                raise ToolError(f"Item {old} not found")
            last = swaps[-1][0]  # of all that are replaced: see the module
            item |= {"item_id": new, "price": last["price"], "options": dict(last["options"])}
        order["status"] = "pending (item modified)"
        return order

    @tool
    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> dict[str, Any]:
        """Modify the payment method of a pending order; ask for explicit confirmation (yes/no) first.

        Args:
            order_id: The order id, such as '#W0000000'; it begins with a '#'.
            payment_method_id: The new payment method, such as 'gift_card_0000000' or 'credit_card_0000000'.
        """
        order = self._pending(order_id)
        self._payment_method(order, payment_method_id)
        history = order["payment_history"]
        if len(history) != 1 or history[0]["transaction_type"] != "payment":
            raise ToolError("There should be exactly one payment for a pending order")
        before, amount = history[0]["payment_method_id"], history[0]["amount"]
        if before == payment_method_id:
            raise ToolError("The new payment method should be different from the current one")
        self._check_balance(order, payment_method_id, amount, "to pay for the order")
        order = self.db.edit("orders", order_id)
        order["payment_history"] += [_payment("payment", amount, payment_method_id), _payment("refund", amount, before)]
        self._charge(order, payment_method_id, amount)
        self._charge(order, before, -amount)
        return order

    @tool
    def modify_user_address(
        self, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> dict[str, Any]:
        """Modify the default address of a user; ask for explicit confirmation (yes/no) first.

        Args:
            user_id: The user id, such as 'sara_doe_496'.
            address1: The first line of the address, such as '123 Main St'.
            address2: The second line of the address, such as 'Apt 1' or ''.
            city: The city, such as 'San Francisco'.
            state: The state, such as 'CA'.
            country: The country, such as 'USA'.
            zip: The zip code, such as '12345'.
        """
        self.get_user_details(user_id)
        user = self.db.edit("users", user_id)
        user["address"] = _address(address1, address2, city, state, country, zip)
        return user

    # ---- what the changes have in common --------------------------------------------------------------------------------

    def _pending(self, order_id: str) -> Row:
        order = self.get_order_details(order_id)
        if "pending" not in order["status"]:  # modified ones too
            raise ToolError("Non-pending order cannot be modified")
        return order

    def _payment_method(self, order: Row, method: str) -> Row:
        methods = self.find("users", order["user_id"], "User")["payment_methods"]
        if method not in methods:
            raise ToolError("Payment method not found")
        found: Row = methods[method]
        return found

    def _check_balance(self, order: Row, method: str, amount: float, what: str) -> Row:
        found = self._payment_method(order, method)
        if found["source"] == "gift_card" and found["balance"] < amount:
            raise ToolError(f"Insufficient gift card balance {what}")
        return found

    def _charge(self, order: Row, method: str, amount: float) -> None:
        """Take an amount from a gift card, or give it back; other methods are settled elsewhere."""
        if self._payment_method(order, method)["source"] == "gift_card":
            card = self.db.edit("users", order["user_id"])["payment_methods"][method]
            card["balance"] = round(card["balance"] - amount, 2)

    def _swap(self, order: Row, item_id: str, new_item_id: str) -> tuple[Row, float]:
        """The new item, and how much more it costs."""
        item = next(i for i in order["items"] if i["item_id"] == item_id)
        variants = self.find("products", item["product_id"], "Product")["variants"]
        if new_item_id not in variants:
            raise ToolError("Variant not found")
        new: Row = variants[new_item_id]
        if not new["available"]:
            raise ToolError(f"New item {new_item_id} not found or available")
        return new, new["price"] - item["price"]


def _check_held(order: Row, item_ids: list[str], complaint: str) -> None:
    held = Counter(i["item_id"] for i in order["items"])
    for item_id, wanted in Counter(item_ids).items():
        if wanted > held[item_id]:
            raise ToolError(complaint.format(item_id))


def _total(amounts: list[float]) -> float:
    """Added one after the other, as in the published states; `sum` compensates for rounding from Python 3.12 on."""
    total = 0.0
    for amount in amounts:
        total += amount
    return total


def _payment(kind: str, amount: float, method: str) -> Row:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


def _address(address1: str, address2: str, city: str, state: str, country: str, zip: str) -> Row:
    return {"address1": address1, "address2": address2, "city": city, "state": state, "country": country, "zip": zip}
