import sys

sys.path.insert(0, "/tmp/adapters/oe")
try:
    from openenv.core import GenericEnvClient

    print(GenericEnvClient)
except Exception as e:
    print(type(e), e)
