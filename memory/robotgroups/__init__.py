"""Highly available groups of robots (LLM agents) that share one working memory in Postgres."""
