"""Stage 04: groups of customers that are real, stable, worth having and can be acted on."""
