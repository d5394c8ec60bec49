"""Function calling as the Berkeley Function Calling Leaderboard judges it."""
