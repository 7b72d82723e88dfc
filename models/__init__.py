"""Networks, their training, metrics, weights and cards. Arrays in, arrays out; knows torch, not Beam."""
