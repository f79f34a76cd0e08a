"""What a controller does and costs: costs, inspections, evaluations, plots, animations, sweeps."""
