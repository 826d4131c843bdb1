"""Rules of the door, one a file, composed once in `door.RULES`."""

from insight_lib.door.door import RULES as RULES
from insight_lib.door.door import Door as Door
from insight_lib.door.rule import Refused as Refused
from insight_lib.door.rule import Rule as Rule
from insight_lib.door.rule import Unavailable as Unavailable
