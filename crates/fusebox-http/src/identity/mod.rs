//! Who is calling: the client identity, resolved once per request.
