"""What may leave a site: the owner's policy, and what it says of a plan."""
