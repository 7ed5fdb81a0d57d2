"""The kinds of query-side routers: declared once, for profiles, options and the code that fits them."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

QueryRouterKind: TypeAlias = Literal["multilabel", "separate", "kmeans", "knn"]
ClassSource: TypeAlias = Literal["none", "column", QueryRouterKind]
"""Where the classes of questions come from: `column` is one of the rows, `none` tells no classes apart."""
ClassChoice: TypeAlias = Literal["none", QueryRouterKind, "auto"]
"""What `calibrate --query-router` takes; `auto` compares all sources."""
PriorChoice: TypeAlias = Literal[QueryRouterKind, "auto"]
"""What `bench --query-router` takes."""

WrittenKind: TypeAlias = Literal["pomdp", QueryRouterKind]
"""What `calibrate --kind` takes: plans that look at answers, or a router that looks at the question alone."""

QUERY_ROUTER_KINDS: tuple[QueryRouterKind, ...] = get_args(QueryRouterKind)
CLASS_SOURCES: tuple[ClassSource, ...] = ("none", *QUERY_ROUTER_KINDS)
