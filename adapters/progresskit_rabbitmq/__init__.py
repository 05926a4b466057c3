"""Progress through RabbitMQ alone, with pika: `amqp://user:password@host/vhost`."""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_rabbitmq", "rabbitmq"):
    from .backend import RabbitMQBackend

__all__ = ["RabbitMQBackend"]
