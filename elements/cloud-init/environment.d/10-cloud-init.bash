# Empty keeps what the distribution's package does: try every data source that the machine's firmware hints at.
export DIB_CLOUD_INIT_DATASOURCES=${DIB_CLOUD_INIT_DATASOURCES:-}
export DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH=${DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH:-}
