"""Buckets of the configuration, and the way to stores, for all that keep objects elsewhere."""

from __future__ import annotations

from homeserver.config.buckets import S3Bucket
from homeserver.objects.s3 import Bucket
from homeserver.objects.signature_v4 import Credentials
from homeserver.web.addresses import AddressFilter
from homeserver.web.object_transport import ObjectTransport
from homeserver.web.outgoing import OutgoingClient, OutgoingLimits


def bucket_of(chosen: S3Bucket, *, links: bool = False) -> Bucket:
    """`links`: whether clients are sent to the store."""
    secret = chosen.secret_access_key.reveal() if chosen.secret_access_key is not None else ""
    return Bucket(
        endpoint=chosen.endpoint,
        name=chosen.bucket or "",
        prefix=chosen.prefix,
        credentials=Credentials(access_key_id=chosen.access_key_id, secret_access_key=secret, region=chosen.region),
        links=links,
    )


def store_transport(connections_max: int) -> ObjectTransport:
    """To a store that the operator named: it may be on this machine, or in a private network."""
    limits = OutgoingLimits(connections_per_host_max=connections_max)
    return ObjectTransport(OutgoingClient(AddressFilter(deny=()), limits=limits))
