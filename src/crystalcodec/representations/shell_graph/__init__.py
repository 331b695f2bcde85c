"""Crystal graphs whose equal sites are one node and whose equal neighbours are one shell."""

from crystalcodec.representations.shell_graph.representation import ShellGraph

__all__ = ["ShellGraph"]
