"""Federated rounds: a server with float weights, clients with integers (FedAQT)."""
