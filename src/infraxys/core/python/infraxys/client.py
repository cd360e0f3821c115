"""Messages to browsers that follow the run."""

from __future__ import annotations


class Client:
    """Tells them."""

    @staticmethod
    def statusMessage(message: object) -> None:
        """Show a text to who follows the run."""
        import json

        line = json.dumps({"type": "STATUS-MESSAGE", "message": message}, default=str)
        print(f"<CLIENT-FEEDBACK>{line}</CLIENT-FEEDBACK>", flush=True)
