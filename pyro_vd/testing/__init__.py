"""Conformance tests: subclass one in a test module to test a layer kind, and so on, of your own against all that it claims."""

from pyro_vd.testing.layer_kind import LayerKindConformance

__all__ = ["LayerKindConformance"]
