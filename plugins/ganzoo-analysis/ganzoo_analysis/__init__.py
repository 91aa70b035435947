"""Pictures and measurements of what the networks of a trained ganzoo run have learned."""
