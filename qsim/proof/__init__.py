"""What is proven about graphs: ranges, exact multipliers, encodings of weights; and the graph builder."""
