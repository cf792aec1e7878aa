"""Nodes of functions, and requests of the command line."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.cli.parser import parse


def request_of(*words):
    return parse(["in", "out", "participant", *words])


def node(function, name, value):
    (argument,) = function.__code__.co_varnames[:1]
    interface = niu.Function(input_names=[argument], output_names=["out"], function=function)
    made = pe.Node(interface, name=name)
    setattr(made.inputs, argument, value)
    return made
