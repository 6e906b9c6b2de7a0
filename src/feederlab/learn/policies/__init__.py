"""Learned policies as controllers: trained networks, fitted estimators, any callable."""
