"""What the fault suite is made of: ways to break things at named points, and an oracle that looks at what is left."""
