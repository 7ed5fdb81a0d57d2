"""The keys of the proxy: one is good, one has no money left, one is of a proxy without a database."""

import litellm
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


async def check(request, api_key):
    """Judge a key, with what the proxy itself says of keys in its database."""
    if api_key == "sk-good":
        return UserAPIKeyAuth(api_key=api_key)
    if api_key == "sk-poor":
        raise litellm.BudgetExceededError(current_cost=1.5, max_budget=1.0)
    if api_key == "sk-undefined":
        raise ProxyException(message="No connected db.", type="no_db_connection", param=None, code=400)
    message = "Authentication Error, Invalid proxy server token passed"
    raise ProxyException(message=message, type="token_not_found_in_db", param="key", code=401)
