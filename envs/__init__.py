"""The world: episodes, protocols, metrics, simulators and gymnasium environments. No torch."""
