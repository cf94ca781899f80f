"""The reference of the workflow language: what each verb means, random workflows, and their comparison with Hark."""
