"""Running code that nobody has read: kernels, agents that drive them, and what keeps both in bounds."""
