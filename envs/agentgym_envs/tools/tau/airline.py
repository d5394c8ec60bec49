"""The tools of tau2-bench's airline domain: reservations are booked, changed and cancelled.

Written anew after the published behaviour (Barres et al. 2025, arXiv:2506.07982), whose simplifications are kept, because the
published final states have them: changed and cancelled reservations do not free seats, changed ones do not take any, new
reservations and certificates get fixed ids, and a search for connections knows no later month than May.
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from agentgym import ToolError, tool

from .tables import Row
from .toolkit import Calculator

Cabin = Literal["business", "economy", "basic_economy"]
Trip = Literal["round_trip", "one_way"]
YesNo = Literal["yes", "no"]

NOW = "2024-05-15T15:00:00"
RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")  # ids of new ones: a task makes at most three
CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
INSURANCE, BAG = 30, 50  # dollars for a passenger, for a bag
AIRPORTS = {
    "SFO": "San Francisco", "JFK": "New York", "LAX": "Los Angeles", "ORD": "Chicago", "DFW": "Dallas", "DEN": "Denver",
    "SEA": "Seattle", "ATL": "Atlanta", "MIA": "Miami", "BOS": "Boston", "PHX": "Phoenix", "IAH": "Houston", "LAS": "Las Vegas",
    "MCO": "Orlando", "EWR": "Newark", "CLT": "Charlotte", "MSP": "Minneapolis", "DTW": "Detroit", "PHL": "Philadelphia",
    "LGA": "LaGuardia",
}  # fmt: skip


class Segment(BaseModel):
    """A flight on a day."""

    flight_number: str = Field(description="Flight number, such as 'HAT001'.")
    date: str = Field(description="The date of the flight in the format 'YYYY-MM-DD', such as '2024-05-01'.")


class Passenger(BaseModel):
    """Who flies."""

    first_name: str = Field(description="Passenger's first name")
    last_name: str = Field(description="Passenger's last name")
    dob: str = Field(description="Date of birth in YYYY-MM-DD format")


class Payment(BaseModel):
    """What is paid, by what."""

    payment_id: str = Field(description="Unique identifier for the payment")
    amount: int = Field(description="Payment amount in dollars")


class Airline(Calculator):
    """Tools of the agents of an airline."""

    tables_of = frozenset({"flights", "users", "reservations"})

    # ---- reading -------------------------------------------------------------------------------------------------------

    @tool
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Get the details of a user, including their reservations.

        Args:
            user_id: The user ID, such as 'sara_doe_496'.
        """
        return self.find("users", user_id, f"User {user_id}")

    @tool
    def get_reservation_details(self, reservation_id: str) -> dict[str, Any]:
        """Get the details of a reservation.

        Args:
            reservation_id: The reservation ID, such as '8JX2WO'.
        """
        return self.find("reservations", reservation_id, f"Reservation {reservation_id}")

    @tool
    def get_flight_status(self, flight_number: str, date: str) -> str:
        """Get the status of a flight.

        Args:
            flight_number: The flight number.
            date: The date of the flight.
        """
        return str(self._day(flight_number, date)["status"])

    @tool
    def list_all_airports(self) -> list[dict[str, str]]:
        """List all airports with their cities."""
        return [{"iata": iata, "city": city} for iata, city in AIRPORTS.items()]

    @tool
    def search_direct_flight(self, origin: str, destination: str, date: str) -> list[dict[str, Any]]:
        """Search for direct flights between two cities on a day.

        Args:
            origin: The origin city airport in three letters, such as 'JFK'.
            destination: The destination city airport in three letters, such as 'LAX'.
            date: The date of the flight in the format 'YYYY-MM-DD', such as '2024-01-01'.
        """
        return list(self._flights(date, origin, destination))

    @tool
    def search_onestop_flight(self, origin: str, destination: str, date: str) -> list[list[dict[str, Any]]]:
        """Search for flights between two cities with one stop; each result is a pair of flights.

        Args:
            origin: The origin city airport in three letters, such as 'JFK'.
            destination: The destination city airport in three letters, such as 'LAX'.
            date: The date of the flight in the format 'YYYY-MM-DD', such as '2024-05-01'.
        """
        found = []
        for first in self._flights(date, origin):
            arrival = first["scheduled_arrival_time_est"]
            later = f"2024-05-{int(date[-2:]) + 1}" if "+1" in arrival else date
            found += [
                [first | {"date": date}, second | {"date": later}]
                for second in self._flights(later, first["destination"], destination, arrival)
            ]
        return found

    # ---- changing ------------------------------------------------------------------------------------------------------

    @tool
    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: Trip,
        cabin: Cabin,
        flights: list[Segment],
        passengers: list[Passenger],
        payment_methods: list[Payment],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: YesNo,
    ) -> dict[str, Any]:
        """Book a reservation.

        Args:
            user_id: The user who books, such as 'sara_doe_496'.
            origin: The IATA code for the origin city such as 'SFO'.
            destination: The IATA code for the destination city such as 'JFK'.
            flight_type: The type of flight.
            cabin: The cabin class.
            flights: Each piece of flight.
            passengers: All passengers.
            payment_methods: Who pays how much.
            total_baggages: The total number of bags.
            nonfree_baggages: The number of bags that are not free.
            insurance: Whether the reservation has insurance.
        """
        user = self.get_user_details(user_id)
        reservation_id = next((i for i in RESERVATIONS if self.db.get("reservations", i) is None), None)
        if reservation_id is None:
            raise ToolError("Too many reservations")
        booked = [self._seats(f, cabin, len(passengers)) for f in flights]
        each = sum(f["price"] for f in booked) + INSURANCE * (insurance == "yes")
        self._check_payments(user, payment_methods, each * len(passengers) + BAG * nonfree_baggages)
        self._pay(user_id, payment_methods)
        for f in flights:
            day = self.db.edit("flights", f.flight_number)["dates"][f.date]
            day["available_seats"][cabin] -= len(passengers)
        reservation = {
            "reservation_id": reservation_id,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": booked,
            "passengers": [p.model_dump() for p in passengers],
            "payment_history": [p.model_dump() for p in payment_methods],
            "created_at": NOW,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
        }
        self.db.put("reservations", reservation_id, reservation)
        self.db.edit("users", user_id)["reservations"].append(reservation_id)
        return reservation

    @tool
    def cancel_reservation(self, reservation_id: str) -> dict[str, Any]:
        """Cancel the whole reservation.

        Args:
            reservation_id: The reservation ID, such as 'ZFA04Y'.
        """
        self.get_reservation_details(reservation_id)
        reservation = self.db.edit("reservations", reservation_id)
        paid = reservation["payment_history"]
        reservation["payment_history"] = paid + [p | {"amount": -p["amount"]} for p in paid]
        reservation["status"] = "cancelled"
        return reservation

    @tool
    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> dict[str, Any]:
        """Update the bags of a reservation.

        Args:
            reservation_id: The reservation ID, such as 'ZFA04Y'.
            total_baggages: The new total number of bags.
            nonfree_baggages: The new number of bags that are not free.
            payment_id: Who pays, such as 'credit_card_7815826' or 'gift_card_7815826'.
        """
        reservation = self.get_reservation_details(reservation_id)
        self._settle(reservation, payment_id, BAG * max(0, nonfree_baggages - reservation["nonfree_baggages"]))
        reservation = self.db.edit("reservations", reservation_id)
        reservation |= {"total_baggages": total_baggages, "nonfree_baggages": nonfree_baggages}
        return reservation

    @tool
    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[Segment], payment_id: str
    ) -> dict[str, Any]:
        """Update the flights of a reservation.

        Args:
            reservation_id: The reservation ID, such as 'ZFA04Y'.
            cabin: The cabin class of the reservation.
            flights: Each piece of flight of the ENTIRE new reservation, those that do not change too.
            payment_id: Who pays, such as 'credit_card_7815826' or 'gift_card_7815826'.
        """
        reservation = self.get_reservation_details(reservation_id)
        heads = len(reservation["passengers"])
        kept = {(f["flight_number"], f["date"]): f for f in reservation["flights"]} if cabin == reservation["cabin"] else {}
        booked = [kept.get((f.flight_number, f.date)) or self._seats(f, cabin, heads) for f in flights]
        paid, price = (sum(f["price"] for f in x) * heads for x in (reservation["flights"], booked))
        self._settle(reservation, payment_id, price - paid)
        reservation = self.db.edit("reservations", reservation_id)
        reservation |= {"flights": booked, "cabin": cabin}
        return reservation

    @tool
    def update_reservation_passengers(self, reservation_id: str, passengers: list[Passenger]) -> dict[str, Any]:
        """Update the passengers of a reservation.

        Args:
            reservation_id: The reservation ID, such as 'ZFA04Y'.
            passengers: All passengers.
        """
        if len(passengers) != len(self.get_reservation_details(reservation_id)["passengers"]):
            raise ToolError("Number of passengers does not match")
        reservation = self.db.edit("reservations", reservation_id)
        reservation["passengers"] = [p.model_dump() for p in passengers]
        return reservation

    @tool
    def send_certificate(self, user_id: str, amount: int) -> str:
        """Send a certificate to a user. Be careful!

        Args:
            user_id: The user, such as 'sara_doe_496'.
            amount: The amount of the certificate.
        """
        methods = self.get_user_details(user_id)["payment_methods"]
        payment_id = next((i for i in CERTIFICATES if i not in methods), None)
        if payment_id is None:
            raise ToolError("Too many certificates")
        methods = self.db.edit("users", user_id)["payment_methods"]
        methods[payment_id] = {"source": "certificate", "id": payment_id, "amount": amount}
        return f"Certificate {payment_id} added to user {user_id} with amount {amount}."

    # ---- what the changes have in common --------------------------------------------------------------------------------

    def _day(self, number: str, date: str) -> Row:
        dates = self.find("flights", number, f"Flight {number}")["dates"]
        if date not in dates:
            raise ToolError(f"Flight {number} not found on date {date}")
        found: Row = dates[date]
        return found

    def _flights(self, date: str, origin: str, destination: str | None = None, after: str = "") -> Iterator[Row]:
        """Flights with seats to be had, that leave at `after` or later."""
        for _, f in self.db.rows("flights"):
            day = f["dates"].get(date, {})
            fits = f["origin"] == origin and destination in (None, f["destination"])
            if fits and day.get("status") == "available" and f["scheduled_departure_time_est"] >= after:
                shown = {k: v for k, v in f.items() if k != "dates"}
                yield shown | {k: day[k] for k in ("status", "available_seats", "prices")}

    def _seats(self, segment: Segment, cabin: str, heads: int) -> Row:
        """A piece of flight of a reservation, if there are seats."""
        number, flight = segment.flight_number, self.find("flights", segment.flight_number, f"Flight {segment.flight_number}")
        day = self._day(number, segment.date)
        if day["status"] != "available":
            raise ToolError(f"Flight {number} not available on date {segment.date}")
        if day["available_seats"][cabin] < heads:
            raise ToolError(f"Not enough seats on flight {number}")
        ends = {k: flight[k] for k in ("origin", "destination")}
        return ends | {"flight_number": number, "date": segment.date, "price": day["prices"][cabin]}

    def _check_payments(self, user: Row, payments: list[Payment], price: int) -> None:
        for p in payments:
            method = user["payment_methods"].get(p.payment_id)
            if method is None:
                raise ToolError(f"Payment method {p.payment_id} not found")
            if method["source"] != "credit_card" and method["amount"] < p.amount:
                raise ToolError(f"Not enough balance in payment method {p.payment_id}")
        if (paid := sum(p.amount for p in payments)) != price:
            raise ToolError(f"Payment amount does not add up, total price is {price}, but paid {paid}")

    def _pay(self, user_id: str, payments: list[Payment]) -> None:
        """Cards are charged; a certificate is used up, however much of it is needed."""
        methods = self.db.edit("users", user_id)["payment_methods"]
        for p in payments:
            source = methods.get(p.payment_id, {}).get("source")
            if source == "gift_card":
                methods[p.payment_id]["amount"] -= p.amount
            elif source == "certificate":
                del methods[p.payment_id]

    def _settle(self, reservation: Row, payment_id: str, price: int) -> None:
        """Pay for a change of a reservation, or get money back for it."""
        methods = self.get_user_details(reservation["user_id"])["payment_methods"]
        if payment_id not in methods:
            raise ToolError("Payment method not found")
        source = methods[payment_id]["source"]
        if source == "certificate":
            raise ToolError("Certificate cannot be used to update reservation")
        if source == "gift_card":
            if methods[payment_id]["amount"] < price:
                raise ToolError("Gift card balance is not enough")
            self.db.edit("users", reservation["user_id"])["payment_methods"][payment_id]["amount"] -= price
        if price != 0:
            paid = self.db.edit("reservations", reservation["reservation_id"])["payment_history"]
            paid.append({"payment_id": payment_id, "amount": price})
