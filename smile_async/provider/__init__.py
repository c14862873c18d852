"""Who answers: servers over HTTP, an embedded model, several endpoints as one."""

from smile_async.provider.chat import ChatProvider
from smile_async.provider.server import ServerProvider
from smile_async.provider.transport import raise_open_files_limit

__all__ = ["ChatProvider", "ServerProvider", "raise_open_files_limit"]
