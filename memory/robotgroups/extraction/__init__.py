"""Extraction of tags and propositions from texts, by an LLM behind an OpenAI-compatible chat endpoint."""

from robotgroups.extraction.config import ExtractionConfig, ExtractionProvider, extraction_config
from robotgroups.extraction.extractor import Extractor, make_extractor

__all__ = ["ExtractionConfig", "ExtractionProvider", "Extractor", "extraction_config", "make_extractor"]
