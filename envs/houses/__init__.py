"""Generated houses: plans, furniture, materials, tours, instructions, and data sets of them."""
