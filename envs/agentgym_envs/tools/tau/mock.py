"""The tools of tau2-bench's mock domain: a list of tasks for its agents, a box of notifications for its users."""

from typing import Any, Literal

from agentgym import ToolError, tool

from .tables import Row
from .toolkit import AgentToolkit, Toolkit

Status = Literal["pending", "completed"]


class Mock(AgentToolkit):
    """Tools of agents that keep a list of tasks."""

    tables_of = frozenset({"tasks", "users"})

    @tool
    def create_task(self, user_id: str, title: str, description: str | None = None) -> dict[str, Any]:
        """Create a new task for a user.

        Args:
            user_id: The user who creates the task.
            title: The title of the task.
            description: More about the task.
        """
        if self.db.get("users", user_id) is None:
            raise ToolError(f"User {user_id} not found")
        task_id = f"task_{self.db.count('tasks') + 1}"
        task = {"task_id": task_id, "title": title, "description": description, "status": "pending"}
        self.db.put("tasks", task_id, task)
        self.db.edit("users", user_id)["tasks"].append(task_id)
        return task

    @tool
    def get_users(self) -> list[dict[str, Any]]:
        """Get all users."""
        return [row for _, row in self.db.rows("users")]

    @tool
    def update_task_status(self, task_id: str, status: Status) -> dict[str, Any]:
        """Update the status of a task.

        Args:
            task_id: The task.
            status: Its new status.
        """
        self.find("tasks", task_id, f"Task {task_id}")
        task = self.db.edit("tasks", task_id)
        task["status"] = status
        return task

    def assert_number_of_tasks(self, user_id: str, expected_number: int) -> bool:
        """Whether a user has so many tasks."""
        return len(self.find("users", user_id, f"User {user_id}")["tasks"]) == expected_number

    def assert_task_status(self, task_id: str, expected_status: str) -> bool:
        """Whether a task has this status."""
        return bool(self.find("tasks", task_id, f"Task {task_id}")["status"] == expected_status)


class MockUser(Toolkit):
    """Tools of users with a box of notifications."""

    tables_of = frozenset({"notifications"})

    @tool
    def check_notifications(self) -> list[dict[str, Any]]:
        """Check all notifications in the inbox."""
        return [row for _, row in self.db.rows("notifications")]

    @tool
    def dismiss_notification(self, notification_id: str) -> str:
        """Mark a notification as read.

        Args:
            notification_id: The notification.
        """
        self.find("notifications", notification_id, f"Notification {notification_id}")
        self.db.edit("notifications", notification_id)["status"] = "read"
        return f"Notification {notification_id} dismissed"

    def add_notification(self, notification_id: str, message: str, task_id: str | None = None) -> Row:
        """Put a notification into the box."""
        row = {"notification_id": notification_id, "message": message, "status": "unread", "task_id": task_id}
        self.db.put("notifications", notification_id, row)
        return row

    def assert_notification_status(self, notification_id: str, expected_status: str) -> bool:
        """Whether a notification has this status."""
        found = self.find("notifications", notification_id, f"Notification {notification_id}")
        return bool(found["status"] == expected_status)
