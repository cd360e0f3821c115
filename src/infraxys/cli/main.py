import typer
def main()->None:
    print(1)
