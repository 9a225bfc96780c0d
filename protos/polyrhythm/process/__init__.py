"""What every process needs of the machine: streams, variables, files, addresses. The only room here with I/O."""
