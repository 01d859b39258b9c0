"""Twilio's adapters for the channels SMS and WhatsApp, as a plugin of the gateway."""
