"""Live: what happens, and what is typed, over one WebSocket for each browser tab."""
