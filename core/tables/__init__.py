"""The SQL tables. Times: seconds since 1970 by the database's clock; ids: `masktune.contract.ids`."""

from core.tables.base import Table
from core.tables.jobs import DatasetRow, EventRow, ImageAnswersRow, JobRow, PassRow
from core.tables.models import AliasMoveRow, AliasRow, BackboneRow, DriftRow, ModelRow, ServedRow
from core.tables.review_queue import ReviewImageRow, ReviewItemRow
from core.tables.service import AuditRow, IdempotencyRow, KeyRow, PurgeRow, TrashRow
from core.tables.webhooks import DeliveryRow, WebhookRow

__all__ = [
    "AliasMoveRow",
    "AliasRow",
    "AuditRow",
    "BackboneRow",
    "DatasetRow",
    "DeliveryRow",
    "DriftRow",
    "EventRow",
    "IdempotencyRow",
    "ImageAnswersRow",
    "JobRow",
    "KeyRow",
    "ModelRow",
    "PassRow",
    "PurgeRow",
    "ReviewImageRow",
    "ReviewItemRow",
    "ServedRow",
    "Table",
    "TrashRow",
    "WebhookRow",
]
