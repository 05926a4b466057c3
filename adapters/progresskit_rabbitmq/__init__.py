"""Progress by way of RabbitMQ and nothing else, with pika: `amqp://user:password@host/vhost`."""

from __future__ import annotations

from .backend import RabbitMQBackend

__all__ = ["RabbitMQBackend"]
