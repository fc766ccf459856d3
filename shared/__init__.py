"""The core library that every service is built on."""
