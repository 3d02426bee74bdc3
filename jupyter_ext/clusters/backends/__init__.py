"""Where clusters run; `ClusterService.backend_class` picks one."""
