"""What this machine is: its device, its build of torch, its software, its dtypes."""
