"""The side that speaks to Kubernetes, and to nothing else.

Workers touch vSphere and guests; this package decides what of their results the cluster gets to see.
It trusts no document from a pod that parsed a guest: `admission` says which manifests may be applied.
"""
