def main()->None:
    print(1)
